"""What ``recbole_enhance.tuning.tune`` is made of: spaces, a shared study, reports."""
