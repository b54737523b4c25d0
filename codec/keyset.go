package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset holds the keys: one encrypts, every one decrypts.
//
// The last key is the next one: Rotate makes it encrypt and adds a new next one.
// So a process that has the file of before a rotation decrypts what one with the
// new file encrypts, and the file may reach the machines in any order (hazard T3).
type Keyset struct {
	handle *keyset.Handle
	aead   tink.AEAD
	ids    []uint32 // of the keys that decrypt
}

// Role is what a key does.
type Role string

// The roles of keys.
const (
	RoleNext     Role = "next"     // decrypts; encrypts after the next rotation
	RoleEncrypts Role = "encrypts" // decrypts too
	RoleDecrypts Role = "decrypts" // kept for what it encrypted once
)

// Key is a key without its material.
type Key struct {
	ID   uint32 `json:"id"`
	Role Role   `json:"role"`
}

// NewKeyset makes a keyset with a key that encrypts and the next one, AES-256-GCM.
func NewKeyset() (*Keyset, error) {
	manager := keyset.NewManager()
	first, err := addKey(manager)
	if err != nil {
		return nil, err
	}
	if _, err := addKey(manager); err != nil {
		return nil, err
	}
	return withPrimary(manager, first)
}

// ParseKeyset reads a keyset in Tink's JSON. Its errors show nothing of the content.
func ParseKeyset(content []byte) (*Keyset, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
	if err != nil {
		return nil, errors.New("it is no Tink keyset in JSON") // Tink's error quotes what it read
	}
	return fromHandle(handle)
}

func fromHandle(handle *keyset.Handle) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("it is no keyset of AEAD keys with a primary key")
	}
	k := &Keyset{handle: handle, aead: primitive}
	for _, info := range handle.KeysetInfo().GetKeyInfo() {
		if info.GetStatus() != tinkpb.KeyStatusType_ENABLED {
			continue
		}
		if info.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return nil, fmt.Errorf("key %d has no TINK prefix: a payload would not say which key it needs", info.GetKeyId())
		}
		k.ids = append(k.ids, info.GetKeyId())
	}
	return k, nil
}

// Rotate returns the keyset with the next key encrypting, and a new next one.
// A keyset that has no next key gets one and encrypts as before: rotate it again
// when every process has it.
func (k *Keyset) Rotate() (*Keyset, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	primary := k.handle.KeysetInfo().GetPrimaryKeyId()
	if last := k.ids[len(k.ids)-1]; last != primary {
		primary = last
	}
	if _, err := addKey(manager); err != nil {
		return nil, err
	}
	return withPrimary(manager, primary)
}

func addKey(manager *keyset.Manager) (uint32, error) {
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return 0, fmt.Errorf("making a key: %w", err)
	}
	return id, nil
}

func withPrimary(manager *keyset.Manager, id uint32) (*Keyset, error) {
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("choosing the key that encrypts: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("making the keyset: %w", err)
	}
	return fromHandle(handle)
}

// JSON is the keyset in clear, to be kept like any key.
func (k *Keyset) JSON() ([]byte, error) {
	var content bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&content)); err != nil {
		return nil, fmt.Errorf("writing the keyset: %w", err)
	}
	return content.Bytes(), nil
}

// Keys lists the keys that decrypt, oldest first.
func (k *Keyset) Keys() []Key {
	primary := slices.Index(k.ids, k.handle.KeysetInfo().GetPrimaryKeyId())
	keys := make([]Key, len(k.ids))
	for i, id := range k.ids {
		keys[i] = Key{ID: id, Role: RoleDecrypts}
		switch {
		case i == primary:
			keys[i].Role = RoleEncrypts
		case i > primary:
			keys[i].Role = RoleNext
		}
	}
	return keys
}

// knows tells a key that is missing here from a payload that no key opens: Tink
// writes one byte of version and the key's id in front of a ciphertext.
func (k *Keyset) knows(sealed []byte) error {
	const version, prefix = 1, 5
	if len(sealed) < prefix || sealed[0] != version {
		return fmt.Errorf("%w: it is damaged", ErrPayload)
	}
	if id := binary.BigEndian.Uint32(sealed[1:prefix]); !slices.Contains(k.ids, id) {
		return fmt.Errorf("%w: key %d is not in this process's keyset (PAYOUTS_ENCRYPTION_KEYSET_FILE)", ErrKeyMissing, id)
	}
	return nil
}
