"""Word lists and patterns that the features count with. English only: do not judge another language with them."""

import re

FIRST_PERSON = frozenset(("i", "me", "my", "mine", "myself"))
SECOND_PERSON = frozenset(("you", "your", "yours", "yourself"))

# What a reply may say to anybody in any order; what is left over are the words with content.
_FUNCTION = """
    a about after again all also am an and any are as at be because been before being but by can could d did do does
    don down for from had has have he her here hers him his how if in into is it its just ll m may might more most must
    no not now of off on once one only or our out over own re s shall she should so some still such t than that the
    their them then there these they this those through to too under until up us ve very was we were what when where
    which while who why will with would feel feeling feelings hear see know thing things get got go going make way
"""
FUNCTION_WORDS = FIRST_PERSON | SECOND_PERSON | frozenset(_FUNCTION.split())

# After one of these English wants a noun or an adjective. "her" and "his" are left out: they also stand alone.
DETERMINERS = frozenset(("a", "an", "the", "my", "your", "our", "their"))
_NEVER_AFTER = """
    a an the my your our their of to in at on for from with into by and or but is am are was were be been do does did
    has have had can could will would should may might must i you he she it we they me him us them
"""
NEVER_AFTER_DETERMINER = frozenset(_NEVER_AFTER.split())

# Comfort that could be said to anybody.
_STOCK = """
    here for you; here to support; here to help; support you; safe space; feelings are valid; feelings matter;
    not alone; never alone; you've got this; you deserve; stay positive; positive energy; you are strong; you're strong;
    you are enough; take care of yourself; sorry to hear; sorry for your loss; sorry you feel; believe in you;
    proud of you; healing journey; your journey; holding space; i understand how you feel; i hear you;
    thank you for sharing; thank you for opening; things will get better
"""
STOCK_PHRASES = tuple(" ".join(phrase.split()) for phrase in _STOCK.split(";"))

ORDERS = re.compile(r"\b(you (?:should|need to|must|have to|ought)|try to|stop \w+ing|just (?:relax|be|let))\b")

# What speaks to a judge or about the reply, or belongs on a page and not in speech. Each pattern is one kind of sign.
_META = (
    r"why this works",
    r"\b(?:this|the) (?:reply|response|intervention)(?: above)? (?:is|shows|reflects|validates|demonstrates|meets)\b",
    r"\bthe (?:client|therapist|rubric|evaluator)\b",
    r"\bscored?s?\b.{0,24}\d|\b\d+ ?/ ?10\b|\b(?:full|top|perfect) (?:marks|scores?)\b",
    r"\b(?:all|every|each)(?: twelve)? dimensions?\b|\b(?:ten|10) out of (?:ten|10)\b|\bhighest (?:marks?|scores?)\b",
    r"\b(?:attunement|non[-_ ]reactivity|clinical[-_ ]wisdom|parallel[-_ ]thinking|artfulness)\b",
    r"thought process|reasoning:|analysis:|note to\b|end of (?:evaluation|session)",
    r"\bas an? (?:ai|assistant|language model)",
    r"\b(?:ignore|disregard|forget) (?:the|all|any|my|your|previous)\b.{0,24}(?:above|rubric|instruction|rule|prompt)",
    r"^\s*(?:[-*•#>]|\d+[.)])\s",
    r"\b\d+[.)] \w.{3,60}\b\d+[.)] \w",
    r"\*\*|```|[{}<>|\\]|\[/?(?:inst|sys)",
    r"^\s*(?:client|therapist|user|assistant|system)\s*:|\n\s*\w+\s*:",
)
META = tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in _META)
