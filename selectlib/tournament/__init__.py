"""One job, every selector: the same pools and referees for each of them, and statistics of what comes out."""

from selectlib.tournament._contest import compare_selectors
from selectlib.tournament._job import Job
from selectlib.tournament._referee import referee_of
from selectlib.tournament._standings import Contest, Row

__all__ = ["Contest", "Job", "Row", "compare_selectors", "referee_of"]
