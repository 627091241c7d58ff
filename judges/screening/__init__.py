"""What a reply must not do, found by rules before anybody counts its score; and the attacks it is tried on."""
