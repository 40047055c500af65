// How a command ended, as its client is told.

/** The part of metav1.Status that clients look at. */
export interface CommandStatus {
  status: 'Success' | 'Failure'
  message?: string
  reason?: string
  details?: { causes: { reason: string; message: string }[] }
  code?: number
}

export function exitStatus(code: number): CommandStatus {
  if (code === 0) return { status: 'Success' }
  return {
    status: 'Failure',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  }
}

/** @param doing for instance `executing command in` */
export function failureStatus(doing: string, error: unknown): CommandStatus {
  const reason = error instanceof Error ? error.message : String(error)
  return {
    status: 'Failure',
    message: `Internal error occurred: error ${doing} container: ${reason}`,
    reason: 'InternalError',
    code: 500,
  }
}

/** What is written to the error stream: JSON, or to clients older than version 4 the message of a failure alone. */
export function statusText(status: CommandStatus, json: boolean): string {
  if (json) return JSON.stringify({ metadata: {}, ...status })
  return status.status === 'Success' ? '' : (status.message ?? 'failed')
}
