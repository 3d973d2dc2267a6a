"""Methods that have no effect in a run's epochs: refused before it, or reported after it."""

import logging
from typing import Any

from recbole_enhance.options.errors import OptionError

logger = logging.getLogger("recbole_enhance")


def refuse_idle(config: Any) -> None:
    """Refuse a method whose first epoch lies behind the run's last one.

    Such a run has the backbone's numbers to the last digit, and would be reported as the method's.

    Args:
        config: The settings of a run that is about to be trained.

    Raises:
        OptionError: Naming the option, the epochs and the backbone.
    """
    option = config.method and config.method.start_option(config)
    if not option or not config["epochs"]:
        return
    name, start, epochs = config.method.name, config[option], config["epochs"]
    if start >= epochs:
        raise OptionError(
            option,
            start,
            f"must be below epochs={epochs}, or {name} does nothing and its numbers are those of "
            f"{config['model']}",
        )
    if 2 * start > epochs:
        logger.warning(
            "%s=%s: %s acts in the last %g of %d epochs only",
            option,
            start,
            name,
            epochs - start,
            epochs,
        )


def tell_notes(config: Any) -> None:
    """Log the notes of a method when its run begins.

    Args:
        config: The settings of the run.
    """
    for note in config.method.notes(config) if config.method and config.method.notes else ():
        logger.warning("%s", note)


def tell_idle(config: Any, best_epoch: int) -> None:
    """Warn if the reported epoch is from before the method began to act.

    Args:
        config: The settings of the run.
        best_epoch: The epoch that is reported.
    """
    option = config.method and config.method.start_option(config)
    if option and 0 <= best_epoch < config[option]:
        logger.warning(
            "%s=%s: the best epoch, %d, comes before %s acts: its result is that of %s",
            option,
            config[option],
            best_epoch,
            config.method.name,
            config["model"],
        )
