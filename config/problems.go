package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Error lists every variable that is missing or bad, in the order in which
// they are documented. No text in it holds a variable's value.
type Error struct {
	Problems []Problem
}

// Problem is what is wrong with one variable and what to do about it.
type Problem struct {
	Variable, Text string
}

// Error gives one line per variable.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, problem := range e.Problems {
		lines[i] = problem.Variable + ": " + problem.Text
	}
	return strings.Join(lines, "\n")
}

// problems collects; the loaders return one error made of it.
type problems []Problem

func (p *problems) add(variable, format string, args ...any) {
	*p = append(*p, Problem{variable, fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(*p) == 0 {
		return nil
	}
	return &Error{*p}
}

// withoutPath drops the file name from an error: it is a variable's value, and
// where someone set the key itself instead of its file, it is the key.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("cannot %s the file: %w", path.Op, path.Err)
	}
	return err
}
