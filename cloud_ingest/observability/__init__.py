"""What the cloud side says about itself: log lines and metrics, every one of them named in events.py."""
