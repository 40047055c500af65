// `nodelet reset`: the machine as it was.
import type { NodeConfig } from '../config.ts'
import { openLog } from '../log.ts'
import { checkMachine } from '../machine.ts'
import { resetMachine } from '../reset.ts'

export async function reset(config: NodeConfig): Promise<void> {
  checkMachine(config)
  await resetMachine(config, openLog(config.logLevel), (title) => console.log(`• ${title}`))
  console.log('✓ nothing of nodelet is left on this machine')
}
