"""What ``recbole_enhance.tune`` is made of: spaces, a shared study, reports."""
