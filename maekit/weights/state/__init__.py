"""One set of weights out of a file: whose layout it has, what it holds, and under which names."""
