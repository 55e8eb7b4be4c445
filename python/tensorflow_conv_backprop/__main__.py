"""`python -m tensorflow_conv_backprop`."""

import sys

from tensorflow_conv_backprop.cli import main

sys.exit(main())
