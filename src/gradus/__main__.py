"""`python -m gradus`: the command line, as `torchrun -m gradus train …` starts it too."""

import sys

from gradus.app.cli import main

sys.exit(main())
