"""What the tests of inference share: subjects of the conformance suite, and servers that play engines."""
