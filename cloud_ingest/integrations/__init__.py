"""What goes out to payment, shipping and CRM, and what they answer: neither lost nor doubled."""
