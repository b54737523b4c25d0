package workflows

// Changed is for the tests that see the package from outside.
var Changed = changed
