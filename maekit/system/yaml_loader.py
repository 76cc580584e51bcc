"""The loader that YAML files are read with; only those who read some import it, since PyYAML takes 20 ms."""

import yaml

# libyaml where PyYAML was built with it: a hundred configurations in a second, not in five.
YAML_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
