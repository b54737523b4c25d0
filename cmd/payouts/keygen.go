package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"pikepayouts/pike"
)

const (
	defaultKeyBits = 3072
	maxKeyBits     = 8192

	privateKeyMode = 0o600
	publicKeyMode  = 0o644
	keyFolderMode  = 0o700
)

func (a *app) keygenCommand() *cobra.Command {
	var folder, name, keyset string
	var bits int
	var rotate bool
	command := &cobra.Command{
		Use:   "keygen (--out DIR | --keyset FILE [--rotate])",
		Short: "Make an RSA key pair for signing, or a keyset for encryption",
		Long: `With --out, make an RSA key pair: NAME-private.pem (PKCS#8, mode 0600) signs the calls to Pike and never leaves your machines;
NAME-public.pem is what you give to Pike. An existing file is never overwritten.

With --keyset, make a Tink keyset (AES-256-GCM, JSON, mode 0600) that encrypts what Temporal keeps: PAYOUTS_ENCRYPTION_KEYSET_FILE
of every process and caller. It holds the key that encrypts and the next one. With --rotate, the next key begins to encrypt
and a new next one is added; older keys stay and decrypt. Give the file to every process before you rotate again: until then
each of them reads what any other writes, in whatever order they get it.`,
		Example: `  payouts keygen --out keys
  payouts keygen --out keys --name pike-2027 --bits 4096
  payouts keygen --keyset keys/keyset.json
  payouts keygen --keyset keys/keyset.json --rotate`,
		Args: usage(cobra.NoArgs),
	}
	command.Flags().StringVar(&folder, "out", "", "folder for the two files; it is made if it does not exist")
	command.Flags().StringVar(&name, "name", "partner", "begin of the file names")
	command.Flags().IntVar(&bits, "bits", defaultKeyBits, fmt.Sprintf("size of the key, %d to %d", pike.MinKeyBits, maxKeyBits))
	command.Flags().StringVar(&keyset, "keyset", "", "keyset file to make, or to rotate")
	command.Flags().BoolVar(&rotate, "rotate", false, "let the next key of the keyset encrypt, and add a new next one")
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(*cobra.Command, []string) error {
		switch {
		case keyset != "" && folder != "":
			return usagef("--keyset and --out make different things: name one of them")
		case keyset != "" && rotate:
			return a.keysetFile(keyset, format, rotateKeyset)
		case keyset != "":
			return a.keysetFile(keyset, format, makeKeyset)
		case rotate:
			return usagef("--rotate needs --keyset: name the keyset file")
		case folder == "":
			return usagef("name what to make: --out a folder for an RSA key pair, or --keyset a file for an encryption keyset")
		case !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`).MatchString(name):
			return usagef("--name: must be of A-Z a-z 0-9 . _ - and not begin with . or -")
		case bits < pike.MinKeyBits || bits > maxKeyBits:
			return usagef("--bits: must be %d to %d", pike.MinKeyBits, maxKeyBits)
		}
		made, err := makeKeyPair(filepath.Join(folder, name), bits)
		if err != nil {
			return err
		}
		return a.print(format, made, func(p *printer) {
			p.fact("Private key", made.Private+" (keep it secret; PIKE_PRIVATE_KEY_FILE)")
			p.fact("Public key", made.Public+" (give it to Pike)")
		})
	}
	return command
}

// keyPair names the files of a pair.
type keyPair struct {
	Private string `json:"private_key_file"`
	Public  string `json:"public_key_file"`
}

func makeKeyPair(path string, bits int) (keyPair, error) {
	files := keyPair{Private: path + "-private.pem", Public: path + "-public.pem"}
	for _, file := range []string{files.Private, files.Public} { // before the slow part; createFile checks again
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return keyPair{}, fmt.Errorf("%s exists, or cannot be looked for; nothing is overwritten", file)
		}
	}
	private, public, err := generatePEM(bits)
	if err != nil {
		return keyPair{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), keyFolderMode); err != nil {
		return keyPair{}, fmt.Errorf("making the folder: %w", err)
	}
	if err := createFile(files.Private, private, privateKeyMode); err != nil {
		return keyPair{}, err
	}
	return files, createFile(files.Public, public, publicKeyMode)
}

func generatePEM(bits int) (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, nil, fmt.Errorf("generating the key: %w", err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the private key: %w", err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}), nil
}

// createFile fails if the file exists, even if it appeared a moment ago. It ends when the file is on the disk:
// what is encrypted with a keyset that a crash took away is lost.
func createFile(path string, content []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("creating a key file: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("writing a key file: %w", err)
	}
	return nil
}
