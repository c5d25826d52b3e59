import sys

from modelbuild.quick import main

sys.exit(main())
