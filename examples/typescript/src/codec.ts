// Encryption without the keys: the codec server (`payouts codec-server`) has the keyset, this program only asks it.

import { ValueError, type Payload, type PayloadCodec, type SerializationContext } from '@temporalio/common';

/** A payload as the codec server's JSON has it: all bytes in base64. */
interface WirePayload {
  metadata?: Record<string, string>;
  data?: string;
}

export interface CodecServerOptions {
  /** Its address, like http://127.0.0.1:8234 */
  endpoint: string;
  namespace: string;
  /** The whole Authorization header, like "Bearer …", if the server asks for one. */
  authorization?: string | undefined;
}

const timeoutMs = 10_000;

/** Encrypts and decrypts through the codec server. Every payload is bound to the one workflow that it is of. */
export class CodecServerCodec implements PayloadCodec {
  constructor(private readonly options: CodecServerOptions) {}

  encode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    return this.call('encode', payloads, context);
  }

  decode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    return this.call('decode', payloads, context);
  }

  private async call(verb: 'encode' | 'decode', payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    if (payloads.length === 0) {
      return [];
    }
    const url = `${this.options.endpoint}/${context?.workflowId ? `${context.workflowId}/` : ''}${verb}`;
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'X-Namespace': this.options.namespace,
        ...(this.options.authorization ? { Authorization: this.options.authorization } : {}),
      },
      body: JSON.stringify({ payloads: payloads.map(toWire) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (!response.ok) {
      // The server says why and never what: there is nothing secret in its text.
      throw new ValueError(`codec server, ${verb}: ${response.status} ${(await response.text()).trim()}`);
    }
    const answer = (await response.json()) as { payloads?: WirePayload[] };
    if (answer.payloads?.length !== payloads.length) {
      throw new ValueError(`codec server, ${verb}: ${payloads.length} payloads asked, ${answer.payloads?.length ?? 'none'} answered`);
    }
    return answer.payloads.map(fromWire);
  }
}

function toWire({ metadata, data }: Payload): WirePayload {
  const wire: WirePayload = { metadata: {} };
  for (const [key, value] of Object.entries(metadata ?? {})) {
    wire.metadata![key] = Buffer.from(value).toString('base64');
  }
  if (data) {
    wire.data = Buffer.from(data).toString('base64');
  }
  return wire;
}

function fromWire({ metadata, data }: WirePayload): Payload {
  const payload: Payload = { metadata: {}, data: Buffer.from(data ?? '', 'base64') };
  for (const [key, value] of Object.entries(metadata ?? {})) {
    payload.metadata![key] = Buffer.from(value, 'base64');
  }
  return payload;
}
