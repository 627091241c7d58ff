"""What single turns cannot show: a session as a whole, and the structure of the person over three assessments."""
