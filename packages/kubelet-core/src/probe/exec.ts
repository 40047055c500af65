// Commands in containers, as probes and hooks run them.
import type { RuntimeService } from '@nodelet/cri-api'
import type { ExecInContainer } from './types.ts'

export const execBy =
  (runtime: Pick<RuntimeService, 'execSync'>): ExecInContainer =>
  async (containerId, command, timeoutMs, signal) => {
    const timeout = BigInt(Math.ceil(timeoutMs / 1000))
    const { exitCode, stdout, stderr } = await runtime.execSync({ containerId, cmd: [...command], timeout }, { signal })
    return { exitCode, output: Buffer.concat([stdout, stderr]).toString() }
  }
