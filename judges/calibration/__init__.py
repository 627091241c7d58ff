"""How far a judge can be believed: measured on pairs it never saw, beside a referee, against its own policy's replies."""
