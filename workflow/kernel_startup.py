"""What the kernel of a notebook runs first when workflow/execute.py starts it (PYTHONSTARTUP).

It runs among the notebook's own names, and so leaves none of its own behind.
"""

import figure_data

figure_data.register(get_ipython())
del figure_data
