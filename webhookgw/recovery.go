package webhookgw

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/gin-gonic/gin"
)

// recoverPanic answers 500. Gin's own recovery would log the request's headers,
// the signature among them (hazard W18).
func (g *gateway) recoverPanic(c *gin.Context) {
	defer func() {
		switch problem := recover(); problem {
		case nil:
		case http.ErrAbortHandler:
			panic(problem) // net/http's way to drop a connection
		default:
			g.log.LogAttrs(c.Request.Context(), slog.LevelError, "panic in the webhook handler",
				slog.String("panic", describePanic(problem)), slog.String("stack", string(debug.Stack())))
			g.finish(c, outcome{answer: AnswerPanic})
		}
	}()
	c.Next()
}

// describePanic shows no value that could hold a part of the request: only the
// runtime's own errors are text, of any other value it is the type.
func describePanic(problem any) string {
	var runtimeError runtime.Error
	if err, ok := problem.(error); ok && errors.As(err, &runtimeError) {
		return runtimeError.Error()
	}
	return fmt.Sprintf("%T", problem)
}
