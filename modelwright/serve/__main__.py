"""`python -m modelwright.serve --model-dir ./models`."""

import sys

from modelwright.serve import main

sys.exit(main())
