"""What all drawn reports share: how they write figures, how a page is filled, how a picture is laid out."""
