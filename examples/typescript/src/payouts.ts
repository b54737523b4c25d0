// The client of the payouts: what package starter is to a service in Go.

import { createHash } from 'node:crypto';
import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type Client,
  type WorkflowHandle,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';

/** The one argument of PayoutWorkflow, as far as this example needs it. */
export interface PayoutRequest {
  payout_id: string;
  /** Minor units: 10000 eur is 100.00 EUR. */
  amount_details: { amount: number; currency: string };
  destination: { tokenized_card: { token: string } };
  recipient: { full_name: string };
  policy?: { decision?: 'auto' | 'manual' };
}

export type State =
  | 'creating' | 'starting' | 'awaiting_ready' | 'awaiting_decision' | 'confirming' | 'awaiting_result' | 'cancelling'
  | 'succeeded' | 'failed' | 'cancelled';

/** The answer to the query `status` and the workflow's result. */
export interface PayoutStatus {
  payout_id: string;
  state: State;
  decision?: { value: Decision; by: string };
  error?: { code: string; description?: string };
  transitions?: { state: State; at: string; why: string }[];
}

export type Decision = 'confirm' | 'cancel';

/** The payout id was started with another order. Nothing was started. */
export class ConflictError extends Error {}

/** The decision came too late, or was made before. */
export class DecisionRefusedError extends Error {}

/** Keeps the order's digest on the run, encrypted like everything else, for the comparison when the id comes again. */
const orderMemo = 'order_sha256';

export class Payouts {
  constructor(
    private readonly client: Client,
    private readonly taskQueue: string,
  ) {}

  /**
   * Starts the payout, once for ever: repeat it with the same order as often as you like.
   * @returns whether an earlier start made the run.
   */
  async start(request: PayoutRequest): Promise<{ existing: boolean }> {
    const digest = createHash('sha256').update(JSON.stringify(request)).digest('hex');
    try {
      // No timeout and no retry policy: either could end or repeat a payout without running its code.
      await this.client.workflow.start('PayoutWorkflow', {
        workflowId: workflowId(request.payout_id),
        taskQueue: this.taskQueue,
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        args: [request],
        memo: { [orderMemo]: digest },
      });
      return { existing: false };
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) {
        throw error;
      }
    }
    const { memo } = await this.handle(request.payout_id).describe();
    if (memo?.[orderMemo] !== digest) {
      throw new ConflictError(`payout ${request.payout_id} was started with another request`);
    }
    return { existing: true };
  }

  /** The status now. Of a payout that runs it needs a worker. */
  status(payoutId: string): Promise<PayoutStatus> {
    return this.handle(payoutId).query<PayoutStatus>('status');
  }

  /** The status once it is final. */
  result(payoutId: string): Promise<PayoutStatus> {
    return this.handle(payoutId).result();
  }

  /** Decides a payout whose policy is manual. The same decision by the same person again is the same decision. */
  async decide(payoutId: string, decision: Decision, by: string): Promise<PayoutStatus> {
    try {
      return await this.handle(payoutId).executeUpdate<PayoutStatus, [object]>('decide', {
        args: [{ decision, by, workflow_id: workflowId(payoutId) }],
        updateId: `decide:${decision}:${by}`,
      });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) {
        throw new DecisionRefusedError(`payout ${payoutId} has ended, or never was`);
      }
      if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure && error.cause.type === 'DecisionRefused') {
        throw new DecisionRefusedError(error.cause.message);
      }
      throw error;
    }
  }

  private handle(payoutId: string): WorkflowHandle<() => Promise<PayoutStatus>> {
    return this.client.workflow.getHandle(workflowId(payoutId));
  }
}

function workflowId(payoutId: string): string {
  return `payout/${payoutId}`;
}
