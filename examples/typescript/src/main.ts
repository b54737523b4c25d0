// All of a service that pays out, without the keys: it starts a payout, decides it if told to, follows it to its end
// and says by its exit code what came of it.
//
//   node dist/main.js <payout id> <amount in minor units> <currency> [confirm|cancel]

import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { CodecServerCodec } from './codec.js';
import { ConflictError, DecisionRefusedError, Payouts, type Decision, type PayoutRequest, type PayoutStatus } from './payouts.js';

const usage = `usage: node dist/main.js <payout id> <amount in minor units> <currency> [confirm|cancel]
CARD_TOKEN and FULL_NAME say who is paid.`;

/** Who decides manual payouts here; in a real service the person who is logged in. */
const decider = 'ann@example.com';

/** As of the command line `payouts`. */
const exitCodes = { succeeded: 0, failedToDoIt: 1, usage: 2, notPaid: 3, conflict: 4 };

async function main(): Promise<number> {
  const order = readOrder(process.argv.slice(2), process.env);
  if (!order) {
    console.error(usage);
    return exitCodes.usage;
  }
  const { connection, client } = await connect(process.env);
  try {
    const payouts = new Payouts(client, process.env['PAYOUTS_TASK_QUEUE'] || 'payouts');
    const status = await pay(payouts, order.request, order.decision);
    return status.state === 'succeeded' ? exitCodes.succeeded : exitCodes.notPaid;
  } catch (error) {
    console.error(reason(error));
    return error instanceof ConflictError ? exitCodes.conflict : exitCodes.failedToDoIt;
  } finally {
    await connection.close();
  }
}

/** It can be repeated whenever it broke off, with the same order: it goes on where the payout is. */
async function pay(payouts: Payouts, request: PayoutRequest, decision?: Decision): Promise<PayoutStatus> {
  const { existing } = await payouts.start(request);
  console.log(`payout/${request.payout_id}, started before: ${existing}`);
  if (decision) {
    await decide(payouts, request.payout_id, decision);
  }
  return follow(payouts, request.payout_id);
}

async function decide(payouts: Payouts, payoutId: string, decision: Decision): Promise<void> {
  try {
    const status = await payouts.decide(payoutId, decision, decider);
    console.log(`decided: ${status.decision?.value} by ${status.decision?.by}`);
  } catch (error) {
    if (!(error instanceof DecisionRefusedError)) {
      throw error;
    }
    console.log(`decision refused: ${error.message}`); // what came of the payout is to be seen below
  }
}

/** Waits for the end. The progress is for people, so what goes wrong with it does not matter. */
async function follow(payouts: Payouts, payoutId: string): Promise<PayoutStatus> {
  let shown = 0;
  const show = (status: PayoutStatus): void => {
    for (const { at, state, why } of status.transitions?.slice(shown) ?? []) {
      console.log(`${at.slice(11, 19)}  ${state.padEnd(17)}  ${why}`);
      shown++;
    }
  };
  let ended = false;
  const progress = async (): Promise<void> => {
    while (!ended) {
      await payouts.status(payoutId).then(show, () => undefined);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  };
  const showing = progress();
  const status = await payouts.result(payoutId).finally(() => (ended = true));
  await showing;
  show(status);
  return status;
}

/** Temporal by the standard TEMPORAL_* variables; TEMPORAL_CODEC_ENDPOINT is set where payouts are encrypted. */
async function connect(env: NodeJS.ProcessEnv): Promise<{ connection: Connection; client: Client }> {
  const config = loadClientConnectConfig();
  const namespace = config.namespace ?? 'default';
  const connection = await Connection.connect(config.connectionOptions);
  const endpoint = env['TEMPORAL_CODEC_ENDPOINT'];
  const payloadCodecs = endpoint ? [new CodecServerCodec({ endpoint, namespace, authorization: env['TEMPORAL_CODEC_AUTH'] })] : [];
  return { connection, client: new Client({ connection, namespace, dataConverter: { payloadCodecs } }) };
}

function readOrder(args: string[], env: NodeJS.ProcessEnv): { request: PayoutRequest; decision?: Decision } | undefined {
  const [payoutId, amount, currency, decision] = args;
  const token = env['CARD_TOKEN'];
  const fullName = env['FULL_NAME'];
  if (!payoutId || !currency || !token || !fullName || !Number.isSafeInteger(Number(amount)) || args.length > 4) {
    return undefined;
  }
  const request: PayoutRequest = {
    payout_id: payoutId, // the idempotency key: take the id of your own order, never one made for the attempt
    amount_details: { amount: Number(amount), currency },
    destination: { tokenized_card: { token } },
    recipient: { full_name: fullName },
  };
  if (decision === undefined) {
    return { request };
  }
  if (decision !== 'confirm' && decision !== 'cancel') {
    return undefined;
  }
  return { request: { ...request, policy: { decision: 'manual' } }, decision };
}

/** An error with its causes: what a workflow failed of stands in the innermost. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  return error.cause === undefined ? error.message : `${error.message}: ${reason(error.cause)}`;
}

process.exitCode = await main();
