// Runs the tests of crashes and faults again and again, ten times unless told: `node tools/repeat-faults.ts 3`.
import { spawnSync } from 'node:child_process'

const times = Number(process.argv[2] ?? 10)
const results = Array.from({ length: times }, (_, index) => {
  const from = Date.now()
  const { status } = spawnSync('vitest', ['run', '--silent=passed-only', 'packages/runtime-runc/test/crash/'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const result = `${index + 1}: ${status === 0 ? 'passed' : 'FAILED'} in ${Math.round((Date.now() - from) / 1000)} s`
  console.log(result)
  return { status, result }
})
console.log(results.map(({ result }) => result).join('\n'))
process.exitCode = results.every(({ status }) => status === 0) ? 0 : 1
