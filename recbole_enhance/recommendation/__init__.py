"""Lists for anybody out of a finished run, and the vectors behind them."""
