"""Floor 6: something to read. Results of a campaign in; text for people, and files for other programs, out."""
