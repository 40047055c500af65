// A command with its client, however the client is connected.
import { endOutput } from './end-output.ts'
import { exitStatus, failureStatus } from './status.ts'
import type { CommandStatus } from './status.ts'
import type { AttachStreamRequest, ExecStreamRequest, StreamAdapters, StreamIO } from './types.ts'

/** What the client asked for. */
export type CommandRequest =
  { kind: 'exec'; request: ExecStreamRequest } | { kind: 'attach'; request: AttachStreamRequest }

/** A connected client. */
export interface CommandClient {
  io: StreamIO
  /** Aborts when the client leaves. */
  signal: AbortSignal
  /** Sends how the command ended, after all output. */
  sendStatus(status: CommandStatus): Promise<void>
}

/** Runs the command to its end and tells the client. Never throws: a client that left needs no answer. */
export async function runCommand(
  adapters: StreamAdapters,
  asked: CommandRequest,
  client: CommandClient,
): Promise<void> {
  const status = await statusOf(adapters, asked, client)
  if (client.signal.aborted) return
  try {
    await Promise.all([endOutput(client.io.stdout), endOutput(client.io.stderr)])
    await client.sendStatus(status)
  } catch {
    // the client left in the meantime
  }
}

async function statusOf(
  adapters: StreamAdapters,
  asked: CommandRequest,
  { io, signal }: CommandClient,
): Promise<CommandStatus> {
  try {
    if (asked.kind === 'exec') return exitStatus(await adapters.exec(asked.request, io, signal))
    await adapters.attach(asked.request, io, signal)
    return exitStatus(0)
  } catch (error) {
    return failureStatus(asked.kind === 'exec' ? 'executing command in' : 'attaching to', error)
  }
}
