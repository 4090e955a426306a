"""Reading sound files whole: what their headers claim, what is really there, and what of it cannot be decoded."""
