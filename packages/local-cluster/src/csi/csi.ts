// All that is done through CSI drivers.
import { startAttacher } from './attacher.ts'
import type { CsiContext } from './context.ts'
import { startProvisioner } from './provisioner.ts'
import { startResizer } from './resizer.ts'

export function startCsi(context: CsiContext): AsyncDisposable {
  const running = new AsyncDisposableStack()
  for (const start of [startProvisioner, startAttacher, startResizer]) running.use(start(context))
  return running
}
