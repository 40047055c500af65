// What the streaming server and its adapters tell each other.
import type { Duplex, Readable, Writable } from 'node:stream'
import type { TerminalSize } from '@nodelet/linux'

/** A program to run in a container. */
export interface ExecStreamRequest {
  containerId: string
  command: string[]
  tty: boolean
  stdin: boolean
  stdout: boolean
  stderr: boolean
}

/** A container's first process to attach to. */
export type AttachStreamRequest = Omit<ExecStreamRequest, 'command'>

/** A port inside a sandbox's network. */
export interface PortForwardStreamRequest {
  sandboxId: string
  port: number
}

/** The client's side of a running program: those streams that it asked for. */
export interface StreamIO {
  /** Ends when the client has no more input. */
  stdin?: Readable
  stdout?: Writable
  stderr?: Writable
  /** Tells the size of the client's terminal, at once if it is known already, and whenever it changes. */
  onResize(listener: (size: TerminalSize) => void): void
}

/** What does the work behind the server. The signal aborts when the client has left. */
export interface StreamAdapters {
  /** Runs a program to its end and returns its exit code, all output being written. */
  exec(request: ExecStreamRequest, io: StreamIO, signal: AbortSignal): Promise<number>
  /** Fulfilled when the container's output has ended. */
  attach(request: AttachStreamRequest, io: StreamIO, signal: AbortSignal): Promise<void>
  /** Joins the stream with the port; fulfilled when either has ended. */
  portForward(request: PortForwardStreamRequest, stream: Duplex, signal: AbortSignal): Promise<void>
}
