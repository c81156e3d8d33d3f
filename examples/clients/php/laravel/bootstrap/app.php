<?php

// A Laravel application in as few files as Laravel allows. In yours, take config/queue.php and app/Jobs.

require dirname(__DIR__, 2).'/autoload.php';
spl_autoload_register(function (string $class): void {
    $file = dirname(__DIR__).'/app/'.strtr(substr($class, 4), '\\', '/').'.php';
    if (str_starts_with($class, 'App\\') && is_file($file)) {
        require $file;
    }
});
if (! class_exists(Aws\Sqs\SqsClient::class)) {
    require dirname(__DIR__).'/stand-in/SqsClient.php'; // aws/aws-sdk-php is not installed
}

// Laravel writes a list of packages and of services: not into this folder.
foreach (['PACKAGES', 'SERVICES'] as $list) {
    $_ENV["APP_{$list}_CACHE"] = sys_get_temp_dir().'/rqsqs-laravel-'.getmypid().'-'.strtolower($list).'.php';
    register_shutdown_function(fn () => @unlink($_ENV["APP_{$list}_CACHE"]));
}

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->singleton(Illuminate\Contracts\Console\Kernel::class, App\Console\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);

return $app;
