// An OCI runtime that takes its time to remove what has ended, as on a busy machine.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NamespaceMode } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { makeRuntime } from './runtime-fixture.ts'

test('a container without a PID namespace of its own that is gone before its others are ended is no problem', async () => {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slow-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'runc')
  // Longer than the second after which what outlived the first process is killed.
  writeFileSync(path, '#!/bin/sh\nrunc "$@" || exit\ncase "$*" in *" delete "*) sleep 2;; esac\n')
  chmodSync(path, 0o755)
  const f = undo.use(await makeRuntime({ handlers: { runc: { path } } }))
  const { runtimeService } = f.runtime
  const security = { securityContext: { namespaceOptions: { pid: NamespaceMode.NODE } } }
  const sandboxConfig = f.pod({ linux: security })
  const { podSandboxId } = await runtimeService.runPodSandbox({ config: sandboxConfig, runtimeHandler: '' })
  const config = f.container('c', 'exit 3', { linux: security })
  const { containerId } = await runtimeService.createContainer({ podSandboxId, config, sandboxConfig })
  await runtimeService.startContainer({ containerId })
  await f.runtime.wait(containerId)
  const { status } = await runtimeService.containerStatus({ containerId, verbose: false })
  expect(status?.exitCode).toBe(3)
  expect(f.problems).toEqual([])
})
