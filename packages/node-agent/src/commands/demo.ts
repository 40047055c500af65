// `nodelet demo`: the node, and on it a web app that shows that it works.
import { existsSync } from 'node:fs'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import { foldersOf } from '../config.ts'
import type { NodeConfig } from '../config.ts'
import { removeDemo, runDemo } from '../demo/run.ts'
import { openScreen } from '../demo/screen.ts'
import { CommandError } from '../errors.ts'
import { openLog } from '../log.ts'
import { resetMachine } from '../reset.ts'
import { openSession } from './session.ts'
import { aborted, untilSignal } from './signal.ts'

export interface DemoOptions {
  /** End after the demo and remove what it made. */
  once?: boolean
  /** Remove every pod at the end instead of leaving containers running. */
  down?: boolean
}

export async function demo(config: NodeConfig, { once = false, down = false }: DemoOptions): Promise<void> {
  const screen = openScreen(process.stdout)
  const { logFile } = foldersOf(config)
  const isNew = !existsSync(config.root)
  const signal = untilSignal()
  const log = openLog(config.logLevel, logFile)
  const since = performance.now()
  {
    await using session = await openSession(config, log, signal)
    const { node, status } = session
    if (!node.cluster) throw new CommandError('the demo needs the cluster in this process', 'run it with all parts')
    const { admin } = node.cluster.kubeconfigs
    await using client = createKubeClient(await loadKubeconfig(admin))
    screen.print(
      `✓ cluster ready in ${(performance.now() - since).toFixed(0)} ms: ${status.api}, node ${config.nodeName}`,
    )
    await runDemo({ config, runtime: node.runtime, images: node.images, proxier: node.proxier, client }, screen, signal)
    screen.print()
    if (once) {
      await removeDemo(client, signal)
      await node.kubelet?.removeAllPods()
      screen.print('✓ the demo is removed')
    } else {
      for (const line of hints(admin, logFile)) screen.print(line)
      await aborted(signal)
      if (down) await node.kubelet?.removeAllPods()
      screen.print()
      screen.print(down ? 'stopped, pods removed' : 'stopped; containers keep running, and the next start finds them')
    }
  }
  // A state that was here before stays.
  if (once && isNew) await resetMachine(config, log, () => undefined)
}

const hints = (kubeconfig: string, logFile: string): string[] => [
  'try, in another terminal:',
  `  export KUBECONFIG=${kubeconfig}`,
  '  kubectl get pods -A -o wide',
  '  kubectl logs -f deployment/hello',
  '  kubectl exec deployment/hello -- wget -qO- http://127.0.0.1:8080/pages/index.html',
  '  kubectl scale deployment/hello --replicas 5',
  '',
  `the log is ${logFile}; Ctrl-C ends the node, \`npx nodelet reset\` removes all that it made`,
]
