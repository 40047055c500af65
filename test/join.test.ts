// A node that joins a cluster by a kubeconfig: its kubelet serves with certificates from files.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine
let plane: string
let run: string
beforeAll(async () => {
  machine = await makeMachine()
  plane = join(machine.folder, 'plane')
  run = `/run/nodelet-${machine.folder.slice(-6)}-p`
})
afterAll(async () => {
  await machine[Symbol.asyncDispose]()
  rmSync(run, { recursive: true, force: true })
})

test('logs and exec of a pod on a node that joined', async () => {
  await machine.up('--root', plane, '--run', run, '--parts', 'cluster')
  const pki = join(plane, 'cluster/pki')
  const kubeletConfig = join(machine.folder, 'kubelet.yaml')
  writeFileSync(
    kubeletConfig,
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
tlsCertFile: ${pki}/kubelet.pem
tlsPrivateKeyFile: ${pki}/kubelet.pem
authentication: { x509: { clientCAFile: ${pki}/ca.crt } }
`,
  )
  const kubeconfig = join(plane, 'cluster/kubelet.kubeconfig')
  const joining = ['--kubeconfig', kubeconfig, '--kubelet-config', kubeletConfig]
  await machine.up('--parts', 'runtime,kubelet', ...joining, '--manifests', join(machine.folder, 'manifests'))

  const { makeDemoImage } = await import('../packages/node-agent/src/demo/image.ts')
  const layout = await makeDemoImage(join(machine.folder, 'image'), 'localhost/nodelet-demo:1')
  expect((await machine.nodelet('image', 'import', layout, ...machine.flags)).code).toBe(0)
  const admin = ['--kubeconfig', join(plane, 'cluster/admin.kubeconfig')]
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'talker' },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        { name: 'main', image: 'localhost/nodelet-demo:1', command: ['/bin/sh', '-c', 'echo hello; sleep 600'] },
      ],
    },
  }
  await machine.kubectlWith(JSON.stringify(pod), ...admin, 'apply', '-f', '-')
  await machine.kubectl(...admin, 'wait', '--for=condition=Ready', 'pod/talker', '--timeout=50s')
  expect(await machine.kubectl(...admin, 'logs', 'talker')).toBe('hello\n')
  expect(await machine.kubectl(...admin, 'exec', 'talker', '--', 'echo', 'inside')).toBe('inside\n')
  await machine.kubectl(...admin, 'delete', 'pod', 'talker')
}, 120_000)
