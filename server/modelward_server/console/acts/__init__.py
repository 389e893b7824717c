"""Changes: a dry run with a reason to give first, then the change itself, once however often the form is sent."""
