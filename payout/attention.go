package payout

// Meaning is a reason for attention in plain words.
type Meaning struct {
	Means string // what has happened
	Asks  string // what it asks of an operator
}

// Meaning says in plain words what the reason means.
func (r AttentionReason) Meaning() Meaning { return meanings[r] }

var meanings = map[AttentionReason]Meaning{
	AttentionResultOverdue: {
		Means: "Pike has the confirm or the cancel, and has not reported a final result in time.",
		Asks:  "Look the session up at Pike or ask its support; the payout keeps asking by itself, and the money may still move.",
	},
	AttentionUnresolvedError: {
		Means: "The session is in error at Pike, which is not final: it may still end as paid or as not paid.",
		Asks:  "Have Pike's support settle the session; close the payout yourself only on evidence of what became of the money.",
	},
	AttentionMismatch: {
		Means: "What Pike holds is not what was ordered.",
		Asks:  "Compare the session at Pike with the order, and settle with Pike whatever was paid wrong.",
	},
	AttentionPaidWithoutConfirm: {
		Means: "Pike paid though this payout sent no confirm.",
		Asks:  "Make sure that the payment was wanted, and that auto-confirm is off for the project at Pike.",
	},
	AttentionConfirmUnknown: {
		Means: "The answer to a confirm is lost: the money may be paid, or not.",
		Asks:  "Do not pay in another way; the status is read until it tells, and if it does not, Pike's support can.",
	},
	AttentionPikeUnreachable: {
		Means: "Pike has given no answer of use for minutes.",
		Asks:  "Check Pike and the network on the way to it; the payout goes on by itself when Pike answers.",
	},
	AttentionConfigRefused: {
		Means: "Pike refuses our project, our key or our rights.",
		Asks:  "Correct the PIKE_ settings of the workers, or have Pike grant the rights; the payout goes on by itself then.",
	},
	AttentionLateEvent: {
		Means: "A genuine webhook that no open payout took says otherwise than what is recorded.",
		Asks:  "Find out what became of the money, correct your books, and close the late event on that evidence.",
	},
}

// Tone is Bad where money may have gone where it should not.
func (r AttentionReason) Tone() Tone {
	switch r {
	case "":
		return Plain
	case AttentionMismatch, AttentionPaidWithoutConfirm, AttentionLateEvent:
		return Bad
	}
	return Warning
}
