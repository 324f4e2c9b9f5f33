"""From a command to the device and back: journalled before every step, checked, written once, read back, reported."""
