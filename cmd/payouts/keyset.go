package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"pikepayouts/codec"
	"pikepayouts/config"
)

// keysetAnswer is what `payouts keygen --keyset -o json` prints.
type keysetAnswer struct {
	File string      `json:"keyset_file"`
	Keys []codec.Key `json:"keys"`
}

// keysetFile makes or changes the file and prints what each key does, never a key.
func (a *app) keysetFile(path string, format outputFormat, do func(path string) (*codec.Keyset, error)) error {
	keyset, err := do(path)
	if err != nil {
		return err
	}
	answer := keysetAnswer{File: path, Keys: keyset.Keys()}
	return a.print(format, answer, func(p *printer) {
		p.fact("Keyset", path+" (keep it secret; PAYOUTS_ENCRYPTION_KEYSET_FILE)")
		for _, key := range answer.Keys {
			p.fact("Key "+strconv.FormatUint(uint64(key.ID), 10), string(key.Role))
		}
	})
}

func makeKeyset(path string) (*codec.Keyset, error) {
	keyset, err := codec.NewKeyset()
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), keyFolderMode); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	content, err := keyset.JSON()
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	if err := createFile(path, content, privateKeyMode); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists; nothing is overwritten, --rotate adds a key to it", path)
	} else if err != nil {
		return nil, err
	}
	return keyset, nil
}

// rotateKeyset puts the new file in the old one's place in one step: nobody sees half of it, and two rotations at once cannot lose a key.
func rotateKeyset(path string) (*codec.Keyset, error) {
	old, err := config.ReadKeyset(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not usable: %w", path, err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil { // else the link would be replaced
		return nil, fmt.Errorf("finding the keyset: %w", err)
	}
	keyset, err := old.Rotate()
	if err != nil {
		return nil, fmt.Errorf("rotating %s: %w", path, err)
	}
	content, err := keyset.JSON()
	if err != nil {
		return nil, fmt.Errorf("rotating %s: %w", path, err)
	}
	next := path + ".new" // beside it, as only there it can be renamed in one step
	if err := createFile(next, content, privateKeyMode); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists: another rotation is under way, or one was cut off; delete it if none is", next)
	} else if err != nil {
		return nil, err
	}
	if now, err := config.ReadKeyset(path); err != nil || !slices.Equal(now.Keys(), old.Keys()) {
		_ = os.Remove(next)
		return nil, fmt.Errorf("%s was changed at this very moment; look at it and try again", path)
	}
	if err := os.Rename(next, path); err != nil {
		return nil, fmt.Errorf("rotating %s: %w", path, err)
	}
	return keyset, nil
}
