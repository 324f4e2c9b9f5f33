"""Who is told of what, by e-mail, chat or webhook."""
