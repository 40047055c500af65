import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { usePrograms } from '../programs.ts'

const programs = usePrograms()
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-programs-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

test('links are made, and take the place of what was there', () => {
  writeFileSync(join(folder, 'bridge'), 'old')
  execFileSync(programs().program, ['link', folder, 'bridge', 'portmap'])
  expect(readdirSync(folder).toSorted()).toEqual(['bridge', 'portmap'])
  expect(readlinkSync(join(folder, 'bridge'))).toBe(programs().program)
})

test.each([
  [[], 'Usage: nodelet-cni link FOLDER'],
  [['link'], 'Usage: nodelet-cni link FOLDER'],
  [['link', '/nonexistent', 'bridge', 'ptpp'], 'there is no plugin ptpp'],
])('%j is refused with what would be right', (args, message) => {
  const { status, stderr } = spawnSync(programs().program, args, { encoding: 'utf8' })
  expect([status, stderr]).toEqual([1, expect.stringContaining(message) as string])
})

test('a plugin may be named as an argument, too', () => {
  const env = { ...process.env, CNI_COMMAND: 'VERSION' }
  expect(execFileSync(programs().program, ['loopback'], { encoding: 'utf8', env })).toContain('supportedVersions')
})

test('input that is not there yet is waited for, also by a pipe that does not wait', () => {
  const ipam = { type: 'host-local', subnet: '10.0.0.0/24', dataDir: join(folder, 'addresses') }
  const input = JSON.stringify({ cniVersion: '1.1.0', name: 'n', type: 'host-local', ipam })
  const script = `
import os, subprocess, sys, time
r, w = os.pipe()
os.set_blocking(r, False)
child = subprocess.Popen([sys.argv[1]], stdin=r)
os.close(r)
time.sleep(1)
os.write(w, sys.argv[2].encode())
os.close(w)
sys.exit(child.wait())`
  const env = {
    ...process.env,
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c',
    CNI_NETNS: '/none',
    CNI_IFNAME: 'eth0',
    CNI_PATH: folder,
  }
  const out = execFileSync('python3', ['-c', script, join(programs().folder, 'host-local'), input], {
    encoding: 'utf8',
    env,
  })
  expect(JSON.parse(out)).toMatchObject({ ips: [{ address: '10.0.0.2/24' }] })
})

test.each([
  ['host-local', 'VERSION'],
  ['static', 'ADD'],
  ['dhcp', 'VERSION'],
  ['loopback', 'VERSION'],
])('native code is loaded only by those that need it: not by %s for %s', (name, command) => {
  const spy = join(folder, 'spy.cjs')
  writeFileSync(spy, "process.on('exit', () => console.error(Object.keys(require('module')._cache).join()))")
  const env = {
    ...process.env,
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'loads',
    CNI_NETNS: '/none',
    CNI_IFNAME: 'eth0',
    CNI_PATH: folder,
    NODE_OPTIONS: `--require=${spy}`,
  }
  const ipam = { type: 'host-local', subnet: '10.0.0.0/24', dataDir: join(folder, 'addresses') }
  const input = JSON.stringify({ cniVersion: '1.1.0', name: 'n', type: name, ipam })
  const { stderr } = spawnSync(join(programs().folder, name), { encoding: 'utf8', env, input })
  expect(stderr).toContain(spy)
  expect(stderr).not.toContain('koffi')
})
