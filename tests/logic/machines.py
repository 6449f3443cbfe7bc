"""How much Hypothesis tries: the same each time; with `DISTPOOL_EXAMPLES=5000` so many others for each machine."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = os.environ.get("DISTPOOL_EXAMPLES")


def tries(examples: int, steps: int = 40) -> settings:
    return settings(
        max_examples=int(EXAMPLES or examples),
        stateful_step_count=steps,
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
