"""What people and other people's systems are told: by e-mail, in chats, by webhooks."""
