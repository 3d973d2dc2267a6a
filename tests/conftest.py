from hypothesis import HealthCheck, settings

pytest_plugins = ["recbole_enhance.testing.plugin"]

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
