<?php

// The classes: of Composer, if `composer install` was run here, else of Debian's packages (docs/clients/php.md).

if (is_file(__DIR__.'/vendor/autoload.php')) {
    require __DIR__.'/vendor/autoload.php';

    return;
}
foreach (['AsyncAws/Sqs', 'Illuminate', 'Symfony/Component/Messenger/Bridge/AmazonSqs'] as $package) {
    if (stream_resolve_include_path("$package/autoload.php")) {
        require_once "$package/autoload.php";
    }
}
