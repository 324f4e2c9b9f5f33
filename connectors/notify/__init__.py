"""To people and to other systems: e-mail, chat, webhooks."""
