"""The judge that asks a model of Anthropic's over the network; its parser and its failures serve other judges too.

settings.py what may be set; judge.py the judge; guard.py one request, guarded; batch.py whole sessions;
parsing.py what counts as a judgement. Nothing here is imported before it is needed: the SDK takes seconds to load.
"""
