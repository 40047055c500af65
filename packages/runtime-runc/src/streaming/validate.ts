// What CRI demands of streaming requests.
import { CriError } from '@nodelet/cri-api'
import type { AttachRequest } from '@nodelet/cri-api'

/** @throws CriError INVALID_ARGUMENT */
export function validateCommand({ containerId, tty, stdin, stdout, stderr }: AttachRequest): void {
  if (!containerId) throw invalid('missing required container_id')
  if (tty && stderr) throw invalid('tty and stderr cannot both be true')
  if (!stdin && !stdout && !stderr) throw invalid('one of stdin, stdout, or stderr must be set')
}

/** @throws CriError INVALID_ARGUMENT */
export function validateSandbox(podSandboxId: string): void {
  if (!podSandboxId) throw invalid('missing required pod_sandbox_id')
}

function invalid(message: string): CriError {
  return new CriError('INVALID_ARGUMENT', message)
}
