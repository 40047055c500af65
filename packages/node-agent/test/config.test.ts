import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createCli } from '../src/cli.ts'
import { foldersOf, parseConfig, readConfig } from '../src/config.ts'

test.each<[input: object, message: string]>([
  [{ cniPluginDir: 'here' }, 'cniPluginDir: must be an absolute path, is "here"'],
  [{ cniPluginPackages: ['@acme/mesh', '../b'] }, 'cniPluginPackages.1: must be the name of an npm package, is "../b"'],
  [{ cniPackageDirs: ['here'] }, 'cniPackageDirs.0: must be an absolute path, is "here"'],
  [{ kubeletDir: 'here' }, 'kubeletDir: must be an absolute path, is "here"'],
  [{ kubeletDir: '/var/lib/' }, "kubeletDir: /var/lib/ has the node's folder /var/lib/nodelet in it: name another one"],
  [{ kubeletDir: '/' }, "kubeletDir: / has the node's folder /var/lib/nodelet in it"],
  [{ kubeletDir: '/run/nodelet/k' }, "kubeletDir: /run/nodelet/k is in the node's folder /run/nodelet"],
])('%j is refused by name and value', (input, message) => {
  expect(() => parseConfig(input, 'flags')).toThrow(message)
})

test("the kubelet's folder is its own, or below the root", () => {
  expect(foldersOf(parseConfig({}, 'flags')).kubelet).toBe('/var/lib/nodelet/kubelet')
  expect(foldersOf(parseConfig({ kubeletDir: '/var/lib/kubelet' }, 'flags')).kubelet).toBe('/var/lib/kubelet')
  const up = createCli().commands.find((command) => command.name() === 'up')
  expect(up?.options.map(({ long }) => long)).toContain('--root-dir')
})

test('packages of CNI plugins are looked for from the folder of the file, unless it says otherwise', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-config-'))
  try {
    const file = join(folder, 'nodelet.yaml')
    writeFileSync(file, 'cniPluginPackages: ["@acme/mesh", overlay]')
    expect(await readConfig(file, {})).toMatchObject({
      cniPluginPackages: ['@acme/mesh', 'overlay'],
      cniPackageDirs: [folder, process.cwd()],
    })
    writeFileSync(file, 'cniPackageDirs: [/srv]')
    expect((await readConfig(file, {})).cniPackageDirs).toEqual(['/srv'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
