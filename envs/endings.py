"""When a session is over before its turns are: what Session-v0, Treatment-v0 and Skills-v0 share."""

INTEGRATION = 3  # phase D
TURNS_TO_CLOSE = 3  # turns in phase D, without a break, after which a session has closed well
COLLAPSE = 0.6  # the client leaves when the alliance falls below this share of what the session began with
